from pathlib import Path

import pytest

from gkc.errors import DataError, GkcError
from gkc.text import wordnet as module
from gkc.text.wordnet import WordNet, find_wordnet
from tests.support.small_wordnet import write_wordnet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wordnet(tmp_path_factory.mktemp("wordnet"))


@pytest.fixture(scope="module")
def wordnet(folder: Path) -> WordNet:
    return WordNet(folder)


def keys(wordnet: WordNet, name: str) -> list[str]:
    return [sense.key for sense in wordnet.senses(name)]


def test_a_sense_holds_what_wordnet_says(wordnet):
    dog = wordnet.senses("dog")[0]
    assert dog.lemmas == ("dog", "domestic_dog", "Canis_familiaris")
    assert dog.gloss == 'a member of the genus Canis; "the dog barked"'
    assert dog.file == "noun.animal"


def test_senses_come_in_wordnets_order_and_are_named_by_their_first_word(wordnet):
    assert keys(wordnet, "dog") == ["dog.n.01", "frump.n.01", "sausage.n.01"]
    assert keys(wordnet, "mouse") == ["mouse.n.01", "mouse.n.02"]
    assert [sense.file for sense in wordnet.senses("mouse")] == ["noun.animal", "noun.artifact"]


def test_case_and_blanks_make_no_difference(wordnet):
    assert keys(wordnet, "Domestic  DOG") == ["dog.n.01"]
    assert keys(wordnet, "light") == ["light.n.01", "light.n.02"]


@pytest.mark.parametrize(
    ("plural", "singular"),
    [("dogs", "dog"), ("mice", "mouse"), ("trash cans", "trash can"), ("glasses", "glass"), ("computer mice", "mouse")],
)
def test_plurals_have_the_senses_of_their_singular(wordnet, plural, singular):
    found = keys(wordnet, plural)
    assert found
    assert set(found) <= set(keys(wordnet, singular))


def test_a_word_that_ends_in_ss_is_no_plural(wordnet):
    assert list(wordnet._forms("glass")) == ["glass"]


def test_a_name_that_wordnet_does_not_know_has_no_senses(wordnet):
    assert wordnet.senses("stop sign") == ()
    assert wordnet.senses("") == ()


def test_narrower_senses(wordnet):
    dog, _, sausage = wordnet.senses("dog")
    assert [sense.lemmas for sense in wordnet.narrower(dog)] == [("poodle", "poodle_dog")]
    assert wordnet.narrower(sausage) == ()


def test_a_sense_by_its_key(wordnet):
    assert wordnet.sense("mouse.n.02") == wordnet.senses("mouse")[1]
    for key in ("mouse.n.03", "mouse.n.00", "mouse", "mouse.n.x", "cat.n.01"):
        with pytest.raises(DataError, match="knows no meaning"):
            wordnet.sense(key)


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(DataError, match="wordnet-base"):
        WordNet(tmp_path / "none")


@pytest.mark.parametrize("file", ["index.noun", "data.noun", "noun.exc"])
def test_a_missing_file_is_named(tmp_path, file):
    (write_wordnet(tmp_path) / file).unlink()
    with pytest.raises(DataError, match=file):
        WordNet(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    data = write_wordnet(tmp_path) / "data.noun"
    text = data.read_bytes()
    data.write_bytes(b" " + text)
    with pytest.raises(DataError, match="does not fit"):
        WordNet(tmp_path).senses("dog")
    data.write_bytes(text[:400])
    with pytest.raises(DataError, match="does not fit"):
        WordNet(tmp_path).senses("light")
    data.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        WordNet(tmp_path)


def test_an_index_of_another_kind_is_refused(tmp_path):
    (write_wordnet(tmp_path) / "index.noun").write_text("dog\n")
    with pytest.raises(DataError, match="no line of an index"):
        WordNet(tmp_path)


def test_the_environment_names_a_wordnet(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WNSEARCHDIR", str(folder))
    assert find_wordnet() == folder
    monkeypatch.delenv("WNSEARCHDIR")
    write_wordnet(tmp_path / "dict")
    monkeypatch.setenv("WNHOME", str(tmp_path))
    assert find_wordnet() == tmp_path / "dict"


def test_no_wordnet_at_all_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PLACES", (str(tmp_path),))
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    monkeypatch.delenv("WNHOME", raising=False)
    with pytest.raises(GkcError, match="wordnet-base"):
        find_wordnet()


def test_the_installed_wordnet_is_read():
    try:
        real = WordNet(find_wordnet())
    except GkcError as error:
        pytest.skip(str(error))
    mice = real.senses("mice")
    assert [sense.lemmas[0] for sense in mice][:1] == ["mouse"]
    assert ("mouse", "computer_mouse") in [sense.lemmas for sense in mice]
    assert any("poodle" in sense.lemmas for sense in real.narrower(real.senses("dog")[0]))
