# Does what is allowed and what is denied on the network, one after the other.
import socket, sys
allowed, denied, port, end = sys.argv[1].split(' ')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
over_and_over([
    (lambda: s.sendto(b'!', (allowed, int(port))), True),
    (lambda: s.sendto(b'!', (denied, int(port))), False),
], end)
