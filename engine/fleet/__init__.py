"""Many clips, one run each: beside each other on Ray, or one after another with the same results.

plan.py: which clip goes into which folder and what its training takes; train.py: the door, and one clip after another;
on_ray.py: the same on a Ray cluster; news.py: what listeners hear of it; page.py: the page that shows all runs.
"""
