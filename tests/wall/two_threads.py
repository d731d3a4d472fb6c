"""A module that starts a thread as it is imported, like some libraries do."""

import threading
import time

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
