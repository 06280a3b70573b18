"""Feed the events [first, last) of a synthetic search to a tracker, and print where they are.

The arguments are the run folder, the mode, `first`, `last`, the number of trials, and 1 to wait
for a signal before the tracker is closed.
"""

import os
import signal
import sys
import time
from pathlib import Path

from synthetic_studies import events, final_events, stopped_events

from search.record.view import View
from search.tracking.tracker import Tracker

folder, mode, first, last, trials, wait = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
told, view = list(events(trials, trials // 5)), View()
if "STOPPED" in os.environ:
    told += stopped_events(trials)
if "FINALS" in os.environ:
    told += final_events()
for event in told[: max(1, first)]:
    view.apply(event)
tracker = Tracker(folder, view.header, mode, "robustune", say=lambda line: print("SAY", line))
stopped: list[int] = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
for event in told[max(1, first) : last]:
    view.apply(event)
    tracker(event, view)
tracker.set_latest(view)  # as the event that ends a session does
print("FED", flush=True)
while wait and not stopped:
    time.sleep(0.01)
tracker.close(float(os.environ.get("PATIENCE", "20")), nets="NETS" in os.environ)
print("WHERE", tracker.describe_location(), flush=True)
