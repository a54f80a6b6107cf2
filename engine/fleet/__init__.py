"""Many clips, one run each: beside each other on Ray, or one after another with the same results.

plan.py: which clip goes into which folder; resources.py: what its training takes; train.py: the door, and one clip
after another; on_ray.py, tasks.py, board.py: the same on a Ray cluster; news.py: what listeners hear of it; page.py:
the page that shows all runs.
"""
