"""Pages that people open by themselves, one file each: their templates, their look, and clips that play in them."""
