"""The report: one page about a job, to be read in a browser without a network."""
