# Web servers that share one address: by TLS on 8443, which tells by name who was asked, by HTTP on 8092; and a
# gateway on 3128 that reads the PROXY header and goes on to where it says. What each has heard goes to a file.
import socket, ssl, struct, sys, threading
cert, key, heard = sys.argv[1:]
log = open(heard, 'a', buffering=1)
def serve(port, talk):
    listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
    def accept():
        while True:
            threading.Thread(target=safely, args=(talk, listener.accept()[0]), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
def safely(talk, connection):
    try:
        talk(connection)
    except OSError:
        pass
    connection.close()
def page(connection, name):
    request = connection.recv(65536)
    if not request:
        return
    log.write(f'{name} {request.decode().splitlines()[0]} from {connection.getpeername()[0]}\n')
    body = name.encode()
    connection.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
def secure(connection):
    names = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _, name, __: names.append(name)
    with context.wrap_socket(connection, server_side=True) as wrapped:
        page(wrapped, f'tls {names and names[0]}')
def plain(connection):
    page(connection, 'http')
def gateway(connection):
    head = connection.recv(16, socket.MSG_WAITALL)
    assert head[:12] == b'\r\n\r\n\0\r\nQUIT\n' and head[12] == 0x21, head
    body = connection.recv(struct.unpack('>H', head[14:16])[0], socket.MSG_WAITALL)
    to, port = socket.inet_ntoa(body[4:8]), struct.unpack('>H', body[10:12])[0]
    name = body[15:].decode() if len(body) > 12 else '-'
    log.write(f'gateway {to}:{port} {name}\n')
    other = socket.create_connection((to, port), 20)
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (a, b):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
    back = threading.Thread(target=copy, args=(other, connection))
    back.start()
    copy(connection, other)
    back.join()
def stream(connection):
    # Counts what comes.
    count = 0
    try:
        while data := connection.recv(65536):
            count += len(data)
            log.write(f'stream {count}\n')
        log.write('stream end\n')
    except OSError as error:
        log.write(f'stream {type(error).__name__}\n')
for port, talk in [(8443, secure), (8092, plain), (3128, gateway), (8091, stream)]:
    serve(port, talk)
print('ready', flush=True)
threading.Event().wait()
