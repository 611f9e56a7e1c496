# A server of names by UDP and TCP, and a web page on every address of this machine.
import socket, struct, sys, threading, itertools
address, address6, heard = sys.argv[1:]
log = open(heard, 'a', buffering=1)
turn = itertools.count()
def name_of(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode('latin-1'))
        at += 1 + query[at]
    return '.'.join(labels), at + 5
def wire(name):
    return b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\0'
def rr(owner, kind, ttl, data):
    return owner + struct.pack('>HHIH', kind, 1, ttl, len(data)) + data
def a(owner, text, ttl=60):
    return rr(owner, 1, ttl, socket.inet_aton(text))
def answer(query, protocol):
    name, end = name_of(query)
    kind = struct.unpack('>H', query[end - 4:end - 2])[0]
    log.write(f'{name} {kind} {protocol} \n')
    low, own, records, code, cut = name.lower(), b'\xc0\x0c', [], 0, 0
    if low == 'api.example.test' and kind == 1:
        # And something that nobody asked for.
        records = [a(own, '198.51.100.1'), a(wire('bank.example.test'), '198.51.100.2')]
    elif low == 'six.example.test' and kind == 28:
        records = [rr(own, 28, 60, socket.inet_pton(socket.AF_INET6, '2001:db8::77'))]
    elif low == 'many.data.example.test' and kind == 1:
        if protocol == 'udp':
            cut = 2
        else:
            records = [a(own, f'198.51.100.{100 + i}') for i in range(60)]
    elif low == 'gone.data.example.test':
        code = 3
    elif low.endswith('.data.example.test') and kind == 1:
        records = [rr(own, 5, 60, wire('edge.cdn.test')), a(wire('edge.cdn.test'), '198.51.100.9')]
    elif low == 'loop.wall.example.test' and kind == 1:
        records = [a(own, '127.0.0.1')]
    elif low == 'meta.wall.example.test' and kind == 1:
        records = [a(own, '169.254.169.254')]
    elif low.endswith('.turn.example.test') and kind == 1:
        records = [a(own, f'198.51.100.{10 + next(turn) % 80}', 0)]
    head = query[:2] + bytes([0x85 | cut, 0x80 | code]) + b'\0\1' + struct.pack('>H', len(records)) + b'\0\0\0\0'
    return head + query[12:end] + b''.join(records)
def udp(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, 53))
    while True:
        query, peer = s.recvfrom(2048)
        s.sendto(answer(query, 'udp'), peer)
def tcp(address):
    def talk(c):
        while True:
            head = c.recv(2, socket.MSG_WAITALL)
            if len(head) < 2:
                return c.close()
            said = answer(c.recv(struct.unpack('>H', head)[0], socket.MSG_WAITALL), 'tcp')
            c.sendall(struct.pack('>H', len(said)) + said)
    listener = socket.create_server((address, 53))
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
def page(listener):
    def talk(c):
        while c.recv(4096):
            c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na page')
        c.close()
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
listener = socket.create_server(('::', 8090), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
for task in [(page, listener), (udp, socket.AF_INET, address), (udp, socket.AF_INET6, address6), (tcp, address)]:
    threading.Thread(target=task[0], args=task[1:], daemon=True).start()
import time
time.sleep(0.5)
print('ready', flush=True)
threading.Event().wait()
