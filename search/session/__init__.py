"""One start of the command line: plan, prepare, resume, run, sum up."""
