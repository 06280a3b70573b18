"""The copy of a run in an object store or on a shared disk, from which any machine resumes it."""
