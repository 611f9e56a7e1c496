# Does what is allowed and what is denied, one after the other, until a file is there, and counts what became of it.
import os, socket, sys
allowed, denied, port, end = sys.argv[1].split(' ')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
done = refused = wrong = 0
print('begun', flush=True)
while not os.path.exists(end):
    for to, may in ((allowed, True), (denied, False)):
        try:
            s.sendto(b'!', (to, int(port)))
            did = True
        except PermissionError:
            did = False
        wrong += did != may
        done += did
        refused += not did
print(f'{wrong} wrong' if wrong or not done or not refused else 'as the policy says', flush=True)
print(done + refused, flush=True)
