"""Class tables of the teachers that `pseudo_labels.py` uses, reviewed by hand."""

from __future__ import annotations

import re

VOC_CLASSES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv", "background",
)  # fmt: skip
VOC_BACKGROUND = VOC_CLASSES.index("background")
VOC_PERSON = VOC_CLASSES.index("person")

# The animals of VOC with the words by which a caption names them.
VOC_ANIMALS = {
    "bird": "bird birds duck ducks goose geese seagull seagulls pigeon pigeons parrot eagle swan hawk chicken",
    "cat": "cat cats kitten kittens kitty",
    "cow": "cow cows bull bulls cattle calf steer ox oxen",
    "dog": "dog dogs doggy puppy puppies poodle greyhound greyhounds retriever labrador terrier collie dalmatian "
           "beagle husky corgi bulldog hound dachshund shepherd spaniel mutt pug",
    "horse": "horse horses pony ponies mule donkey bronco",
    "sheep": "sheep lamb lambs ram rams",
}  # fmt: skip

CITY_CLASSES = (
    "road", "sidewalk", "building", "fence", "pole", "traffic light", "traffic sign", "tree", "sky", "person", "car",
)  # fmt: skip
CITY_OUTPUTS = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 13)  # the teacher's output of each class above

# COCO things that prove a street.
COCO_STREET_THINGS = frozenset({"car", "bus", "truck", "traffic light", "stop sign"})

IMAGENET_LAST_ANIMAL = 397

# ImageNet indices that show a thing of a VOC class.
IMAGENET_TO_VOC = {
    "airplane": {404, 895},
    "bicycle": {444, 671},
    "bird": {*range(7, 25), *range(80, 101), *range(127, 147)},
    "boat": {472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 871, 914},
    "bottle": {440, 737, 898, 907},
    "bus": {654, 779, 874},
    "car": {407, 436, 468, 511, 609, 627, 656, 661, 717, 734, 751, 817},
    "cat": {*range(281, 286)},
    "chair": {423, 559, 765, 857},
    "cow": {345, 690},
    "dining table": {532},
    "dog": {*range(151, 269)},
    "horse": {339, 603},
    "motorcycle": {665, 670},
    "person": {*range(981, 984)},
    "potted plant": {738},
    "sheep": {*range(348, 350)},
    "couch": {831},
    "train": {466, 547, 705, 820},
    "tv": {664, 782, 851},
}  # fmt: skip

# Classes that are the whole scene: what the teacher does not point at is not background either.
IMAGENET_SCENES = frozenset((
    109, 415, 424, 454, 467, 498, 500, 509, 536, 548, 580, 582, 598, 624, 634, 646, 706, 743, 762, 788, 819, 825, 860,
    865, 958, *range(970, 981), 984,
)) - {971}  # fmt: skip

# Clearer words for ImageNet names that are ambiguous, rare or cut short without their synonyms.
_WORDS = """
4 hammerhead shark; 7 rooster; 15 american robin; 21 kite bird; 27 eft newt; 33 loggerhead turtle;
41 whiptail lizard; 42 agama lizard; 67 diamondback rattlesnake; 68 sidewinder snake; 75 black widow spider;
87 african grey parrot; 97 duck; 101 tusked elephant; 134 crane bird; 157 papillon dog; 161 basset hound;
164 bluetick coonhound; 168 redbone coonhound; 191 airedale terrier; 192 cairn terrier;
194 dandie dinmont terrier; 195 boston terrier; 204 lhasa apso; 216 clumber spaniel;
217 english springer spaniel; 227 kelpie dog; 242 boxer dog; 255 leonberger dog; 256 newfoundland dog;
257 great pyrenees dog; 260 chow chow; 263 pembroke corgi; 264 cardigan corgi; 296 polar bear; 308 fly insect;
312 cricket insect; 313 stick insect; 321 admiral butterfly; 322 ringlet butterfly; 326 lycaenid butterfly;
332 angora rabbit; 339 sorrel horse; 370 guenon monkey; 371 patas monkey; 374 langur monkey; 375 colobus monkey;
378 capuchin monkey; 380 titi monkey; 383 ring-tailed lemur; 384 indri lemur; 387 red panda; 391 coho salmon;
392 rock beauty fish; 395 gar fish; 397 puffer fish; 408 amphibious vehicle; 412 trash can; 418 ballpoint pen;
428 wheelbarrow; 436 station wagon; 439 bearskin hat; 446 ring binder; 456 archery bow; 458 brass plaque;
468 taxi; 474 cardigan sweater; 480 cash machine; 492 storage chest; 494 wind chime; 506 spiral coil;
517 crane machine; 553 file cabinet; 581 car grille; 589 hair dryer; 606 clothes iron; 608 jeans; 610 t-shirt;
628 ocean liner; 630 loafer shoe; 664 computer monitor; 666 mortar bowl; 667 graduation cap; 673 computer mouse;
676 dog muzzle; 677 metal nail; 680 baby bottle nipple; 681 notebook computer; 687 pipe organ;
705 railway carriage; 714 guitar pick; 724 pirate ship; 725 water pitcher; 726 carpenter's plane; 738 flower pot;
746 hockey puck; 751 racing car; 758 fishing reel; 769 ruler; 778 weighing scale; 782 computer screen;
800 slot machine; 836 sunglasses; 844 electric switch; 847 military tank; 850 teddy bear; 876 bathtub;
881 upright piano; 882 vacuum cleaner; 897 washing machine; 908 airplane wing; 913 shipwreck;
948 granny smith apple; 989 rose hip; 990 buckeye nut; 998 ear of corn
"""
IMAGENET_WORDS = {int(index): name for index, name in re.findall(r"(\d+) ([^;\n]+)", _WORDS)}


def voc_class(imagenet_index: int) -> str | None:
    """The VOC class that an ImageNet class belongs to."""
    return next((name for name, indices in IMAGENET_TO_VOC.items() if imagenet_index in indices), None)
