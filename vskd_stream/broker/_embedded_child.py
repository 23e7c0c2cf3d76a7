"""What the process of the embedded broker runs, by path: it ends when its standard input does.

That end comes however the parent ends, for the kernel closes the pipe of a killed process as well.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading

from iotcore import IotCoreBroker


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


def main(config: str) -> None:
    """Serve until standard input ends; ``config`` is rumqttd's TOML."""
    # Both go to a whole service or terminal at once, when the daemon's last words have yet to pass.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.disable()  # rumqttd logs each packet as an error.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with tempfile.NamedTemporaryFile("w", prefix="vskd-broker-", suffix=".toml") as file:
        file.write(config)
        file.flush()
        broker = IotCoreBroker(config_path=file.name)
    broker.run_forever()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"embedded broker: {error}\n")
    finally:
        # Interpreter shutdown would wait for the lock of the thread that reads.
        os._exit(1)
