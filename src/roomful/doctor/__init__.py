"""Which ways lead from this machine to a server's media, and what mends those that do not."""

from roomful.doctor.advice import Finding, Way
from roomful.doctor.examination import Examination, examine
from roomful.doctor.signalling import SignallingError

__all__ = ["Examination", "Finding", "SignallingError", "Way", "examine"]
