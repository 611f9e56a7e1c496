# Connects as programs do, and says what became of it: one line for each step.
import errno, os, socket, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def peer(s):
    return ':'.join(str(part) for part in s.getpeername()[:2])
def said(s):
    text = b''
    while data := s.recv(65536):
        text += data
    return text.decode().split('\r\n')[-1] or 'closed'
def reach(to, port):
    return socket.create_connection((to, int(port)), 20)
def secure(to, port, name):
    # TLS that says a name, or none.
    with reach(to, port) as s, context.wrap_socket(s, server_hostname=None if name == '-' else name) as wrapped:
        wrapped.sendall(b'GET / HTTP/1.1\r\nHost: whoever\r\n\r\n')
        return said(wrapped)
def plain(to, port, host):
    with reach(to, port) as s:
        s.sendall(f'GET / HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
        return said(s)
def raw(to, port, text):
    with reach(to, port) as s:
        s.sendall(text.encode())
        return said(s)
def slow(to, port, host):
    # One byte at a time.
    with reach(to, port) as s:
        for byte in f'GET / HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode():
            s.sendall(bytes([byte]))
        return said(s)
def shown(to, port):
    with reach(to, port) as s:
        return peer(s)
def datagram(to, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b'!', (to, int(port)))
        return 'ok'
def again(to, port, host):
    # Asks once more whether it is connected, as some do, and goes on.
    with socket.socket() as s:
        s.setblocking(False)
        s.connect_ex((to, int(port)))
        time.sleep(0.5)
        assert s.connect_ex((to, int(port))) in (0, errno.EISCONN)
        s.setblocking(True)
        s.sendall(f'GET / HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
        return said(s)
def fast(to, port, host):
    # The first bytes go with the connection.
    with socket.socket() as s:
        s.sendto(f'GET / HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode(), 0x20000000, (to, int(port)))
        return said(s)
def flood(to, port, first):
    with reach(to, port) as s:
        s.sendall(first.replace('|', '\r\n').encode())
        print('flooding', flush=True)
        while True:
            s.sendall(bytes(65536))
for step in sys.argv[1:]:
    word, *rest = step.split(' ')
    try:
        found = globals()[word](*rest)
    except socket.timeout:
        found = 'timeout'
    except ssl.SSLError as error:
        found = 'no TLS'
    except OSError as error:
        found = errno.errorcode.get(error.errno, str(error))
    print(found, flush=True)
