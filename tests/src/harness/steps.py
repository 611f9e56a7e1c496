# What every client of the tests can do.
import os, time
def until(file):
    for _ in range(1200):
        if os.path.exists(file):
            return 'now'
        time.sleep(0.1)
    return 'never'
