"""nbval's settings for the notebooks: patience with long cells and no limit on waiting messages.

Past about 8,000 kernel messages ZeroMQ would drop some, and the cell would wait for an end that never comes.
"""

import zmq
from jupyter_client.connect import ConnectionFileMixin
from nbval.plugin import IPyNbCell

_connect_iopub = ConnectionFileMixin.connect_iopub


def _connect_without_limit(self, identity=None):
    """Open the channel for outputs with an unlimited queue on our side."""
    self.context.setsockopt(zmq.RCVHWM, 0)  # the default of sockets made from now on; 0 is no limit
    return _connect_iopub(self, identity)


ConnectionFileMixin.connect_iopub = _connect_without_limit


def pytest_collection_modifyitems(items):
    """Wait up to a minute, not 5 seconds, for outputs that a finished cell still owes."""
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = 60
