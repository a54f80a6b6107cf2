"""`sgif reproduce`: the paper's Table 1 and the ablations, trained, sampled and measured on one's own clips.

models.py: what is compared; experiment.py: the work, resumable; results.py: figures, Markdown and JSON; page.py: the
page with the clips side by side.
"""
