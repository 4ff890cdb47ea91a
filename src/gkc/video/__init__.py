"""Open-vocabulary video: names in, frames with labels and persistent tracks out."""
