"""The archiver as a Matrix member: sign-in, keys, sync, media."""

import logging

# nio logs what it can't make sense of with all that is in it, room keys too: of that nothing may be written (promise 7).
# Here, since whoever uses nio, the canary and the demo's people too, comes by here.
logging.getLogger("nio").setLevel(logging.CRITICAL + 1)
