# Asks for names as a program that has its own resolver does, and connects. One line for each step.
import errno, os, socket, struct, sys, threading, time
KINDS = {'A': 1, 'CNAME': 5, 'NULL': 10, 'TXT': 16, 'AAAA': 28, 'ANY': 255}
CODES = {0: 'NOERROR', 1: 'FORMERR', 2: 'SERVFAIL', 3: 'NXDOMAIN', 5: 'REFUSED'}
def labels(name):
    # As people write it: \DDD is a byte, \. a dot inside a label.
    out, label, i, data = b'', b'', 0, name.encode()
    while i < len(data):
        if data[i:i + 1] == b'\\':
            if data[i + 1:i + 2].isdigit():
                label += bytes([int(data[i + 1:i + 4])]); i += 4
            else:
                label += data[i + 1:i + 2]; i += 2
        elif data[i:i + 1] == b'.':
            out += bytes([len(label)]) + label; label = b''; i += 1
        else:
            label += data[i:i + 1]; i += 1
    if label:
        out += bytes([len(label)]) + label
    return out + b'\0'
def question(name, kind):
    return os.urandom(2) + b'\1\0\0\1\0\0\0\0\0\0' + labels(name) + struct.pack('>HH', KINDS[kind], 1)
def skip(data, at):
    while data[at]:
        if data[at] >= 0xc0:
            return at + 2
        at += 1 + data[at]
    return at + 1
def read(data):
    code, cut = data[3] & 15, data[2] & 2
    count, at = struct.unpack('>H', data[6:8])[0], 12
    if struct.unpack('>H', data[4:6])[0]:
        at = skip(data, at) + 4
    found = []
    for _ in range(count):
        at = skip(data, at)
        kind, _, _, size = struct.unpack('>HHIH', data[at:at + 10])
        at += 10
        if kind == 1:
            found.append(socket.inet_ntop(socket.AF_INET, data[at:at + 4]))
        if kind == 28:
            found.append(socket.inet_ntop(socket.AF_INET6, data[at:at + 16]))
        at += size
    return code, cut, found
def shown(at):
    return f'[{at[0]}]:{at[1]}' if ':' in at[0] else f'{at[0]}:{at[1]}'
def family(server):
    return socket.AF_INET6 if ':' in server else socket.AF_INET
def ask(server, way, data, patience=20):
    kind = socket.SOCK_STREAM if way == 'tcp' else socket.SOCK_DGRAM
    with socket.socket(family(server), kind) as s:
        s.settimeout(patience)
        if way == 'sendto':
            s.sendto(data, (server, 53))
            said, at = s.recvfrom(4096)
            return said, shown(at), '-'
        s.connect((server, 53))
        peer = shown(s.getpeername())
        if way == 'tcp':
            s.sendall(struct.pack('>H', len(data)) + data)
            size = struct.unpack('>H', s.recv(2, socket.MSG_WAITALL))[0]
            return s.recv(size, socket.MSG_WAITALL), peer, peer
        s.send(data)
        said, at = s.recvfrom(4096)
        return said, shown(at), peer
def query(server, way, name, kind):
    data = question(name, kind)
    said, at, peer = ask(server, way, data)
    if said[:2] != data[:2]:
        return 'another answer'
    code, cut, found = read(said)
    return f'{CODES[code]} {",".join(found) or "-"} from {at} peer {peer}'
def count(server, way, name, kind):
    code, cut, found = read(ask(server, way, question(name, kind))[0])
    return f'{"TC" if cut else CODES[code]} {len(found)}'
def connect(address, port):
    with socket.socket(family(address), socket.SOCK_STREAM) as s:
        s.settimeout(20)
        s.connect((address, int(port)))
        return 'ok'
def datagram(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b'!', (address, int(port)))
        return 'ok'
def tls(address, port):
    return connect(address, port)
def oversized(server, way, name):
    data = question(name, 'A')
    return CODES[read(ask(server, way, data + bytes(513 - len(data)))[0])[0]]
def flood(server, zone, times):
    last = ''
    for i in range(int(times)):
        last = CODES[read(ask(server, 'udp', question(f'f{i}.{zone}', 'A'))[0])[0]]
    return last
def malformed(server, how):
    head = b'\0\7\1\0\0\1\0\0\0\0\0\0'
    data = {
        'circle': head + b'\xc0\x0c\0\1\0\1',
        'open': head + b'\x3fabc',
        'two': head[:5] + b'\2' + head[6:] + labels('api.example.test') + b'\0\1\0\1',
        'answer': b'\0\7\x81\x80\0\1\0\0\0\0\0\0' + labels('api.example.test') + b'\0\1\0\1',
        'short': b'\0',
    }[how]
    return CODES[read(ask(server, 'udp', data, 3)[0])[0]]
def race(server, zone, times):
    # Half by looking up and connecting from one thread, on every CPU; and nothing beside it is allowed.
    counts, lock, left = {'allowed': 0, 'denied': 0, 'failed': 0, 'wrongly': 0}, threading.Lock(), iter(range(int(times)))
    def work(number):
        os.sched_setaffinity(0, {number % os.cpu_count()})
        while True:
            with lock:
                i = next(left, None)
            if i is None:
                return
            what = 'failed'
            try:
                code, _, found = read(ask(server, 'udp', question(f'n{i % 8}.{zone}', 'A'))[0])
                if code == 0 and found:
                    connect(found[0], 8090)
                    what = 'allowed'
            except PermissionError:
                what = 'denied'
            except OSError as error:
                print(error, file=sys.stderr)
            with lock:
                counts[what] += 1
            if i % 16 == 0:
                try:
                    connect('198.51.100.250', 8090)
                    with lock:
                        counts['wrongly'] += 1
                except PermissionError:
                    pass
            # Within what a session may ask.
            time.sleep(0.02)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    return f'{counts["allowed"]} allowed, {counts["denied"]} denied, {counts["failed"]} failed, {counts["wrongly"]} wrongly'
def hold(address, port, file, name, other):
    def until(word):
        for _ in range(1200):
            try:
                if open(file).read() == word:
                    return
            except OSError:
                pass
            time.sleep(0.1)
    def lookup(name):
        # As every resolver: what is lost is asked again.
        for _ in range(6):
            try:
                return CODES[read(ask('8.8.8.8', 'udp', question(name, 'A'), 4)[0])[0]]
            except socket.timeout:
                pass
            except OSError as error:
                return errno.errorcode.get(error.errno, str(error))
        return 'timeout'
    assert lookup(name) == 'NOERROR'
    s = socket.create_connection((address, int(port)), 20)
    print('connected', flush=True)
    until('dead')
    print('lookup', lookup(name), flush=True)
    s.sendall(b'x'); print('again', 'ok' if s.recv(100) else 'closed', flush=True)
    print('new', connect(address, port), flush=True)
    until('back')
    print('lookup', lookup(name), flush=True)
    print('other', 'ok' if lookup(other) == 'NOERROR' else 'no', flush=True)
def away():
    # Into a network namespace of its own, where there is but loopback.
    import ctypes, subprocess
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        raise OSError(ctypes.get_errno(), 'unshare')
    return subprocess.run(['ip', 'link', 'set', 'lo', 'up']).returncode
for step in sys.argv[1:]:
    word, *rest = step.split(' ')
    try:
        said = globals()[word](*rest)
    except socket.timeout:
        said = 'timeout'
    except OSError as error:
        said = errno.errorcode.get(error.errno, str(error))
    if said is not None:
        print(said, flush=True)
