"""The report of a run, or of several beside each other: one page that plays what was learned."""
