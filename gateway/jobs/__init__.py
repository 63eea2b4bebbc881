"""Image calls that are answered later: accepted at once, drawn in turn, kept until they are fetched."""

from gateway.jobs.job import Job, JobObject, JobPage
from gateway.jobs.jobs import Jobs

__all__ = ["Job", "JobObject", "JobPage", "Jobs"]
