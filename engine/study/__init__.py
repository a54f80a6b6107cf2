"""The user study of section 4 of the paper: a page that asks real or fake, and what its answers say.

`make_study` writes the page and, beside it, the key that says which clips are real; `score_study` reads the key and the
visitors' answer files. All three carry the study's id, a digest of its clips and settings.
"""
