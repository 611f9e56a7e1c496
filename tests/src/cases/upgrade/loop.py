# Does what is allowed and what is denied, on the network and with files, until a file is there, and counts what became of it.
import os, socket, sys
allowed, denied, port, end = sys.argv[1].split(' ')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deeds = [
    (lambda: s.sendto(b'!', (allowed, int(port))), True),
    (lambda: s.sendto(b'!', (denied, int(port))), False),
    (lambda: open('/etc/passwd').close(), True),
    (lambda: open('/etc/hostname').close(), False),
]
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
