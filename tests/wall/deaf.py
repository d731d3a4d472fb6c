"""A child for the wall's tests that never reads its request."""

import time

if __name__ == "__main__":
    time.sleep(60)
