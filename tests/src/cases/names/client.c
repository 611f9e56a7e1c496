// Looks a name up and connects, with whatever C library it is built.
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
    if (count != 3 || getaddrinfo(words[1], words[2], &wanted, &found)) {
        puts("no such name");
        return 1;
    }
    int s = socket(found->ai_family, found->ai_socktype, 0);
    if (connect(s, found->ai_addr, found->ai_addrlen)) {
        perror("connect");
        return 1;
    }
    puts("connected");
    return 0;
}
