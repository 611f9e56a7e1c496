# What every client of the tests can do.
import os, time
def until(file):
    for _ in range(1200):
        if os.path.exists(file):
            return 'now'
        time.sleep(0.1)
    return 'never'
def over_and_over(deeds, end):
    """Does each deed, which may succeed or not, until a file is there, and says what became of them."""
    done = refused = wrong = 0
    print('begun', flush=True)
    while not os.path.exists(end):
        for deed, may in deeds:
            try:
                deed()
                did = True
            except PermissionError:
                did = False
            wrong += did != may
            done += did
            refused += not did
    print(f'{wrong} wrong' if wrong or not done or not refused else 'as the policy says', flush=True)
    print(done + refused, flush=True)
