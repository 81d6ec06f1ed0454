/* Makes a disk slow that writes through: while there is a file $SLOW_SYNCS/now, each sync takes a second, and its file's
 * name is noted in $SLOW_SYNCS/syncs. To be preloaded. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int sync_slowly(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *folder = getenv("SLOW_SYNCS");
    char path[512], link[64], target[512];
    if (folder) {
        snprintf(path, sizeof path, "%s/now", folder);
        if (access(path, F_OK) == 0) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            ssize_t length = readlink(link, target, sizeof target - 1);
            target[length > 0 ? length : 0] = '\n';
            snprintf(path, sizeof path, "%s/syncs", folder);
            int notes = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
            if (notes >= 0) {
                if (write(notes, target, (length > 0 ? length : 0) + 1) < 0) abort();
                close(notes);
            }
            sleep(1);
        }
    }
    return real(file);
}

int fsync(int file) { return sync_slowly("fsync", file); }
int fdatasync(int file) { return sync_slowly("fdatasync", file); }
