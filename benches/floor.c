/* Opens, reads and closes each path that a file lists, and nothing else: no program that looks at them does it in less. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    static char line[4096], bytes[1 << 16];
    FILE *list = count == 2 ? fopen(words[1], "r") : NULL;
    if (!list) return 2;
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        int fd = open(line, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        while (read(fd, bytes, sizeof bytes) > 0) {}
        close(fd);
    }
    return 0;
}
