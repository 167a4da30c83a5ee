/* Files by the C library: temporary ones, positions, directories, and what goes wrong. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
    char *names[64];
    int count = 0;
    DIR *directory = opendir(path);
    struct dirent *entry;
    while ((entry = readdir(directory)) && count < 64)
        names[count++] = strdup(entry->d_name);
    closedir(directory);
    qsort(names, count, sizeof *names, compare);
    for (int i = 0; i < count; i++)
        printf("%s%s", names[i], i + 1 < count ? " " : "\n");
}

int main(void)
{
    FILE *file = fopen("a", "w+");
    for (int i = 0; i < 10000; i++)
        fprintf(file, "%d\n", i);
    fseek(file, 100, SEEK_SET);
    char line[64];
    if (fgets(line, sizeof line, file))
        printf("at 100: %s", line);
    printf("position %ld\n", ftell(file));
    fclose(file);

    file = fopen("a", "a");
    fputs("last\n", file);
    fclose(file);
    struct stat stat;
    lstat("a", &stat);
    printf("size %ld, mode %o, links %ld\n", (long)stat.st_size, stat.st_mode, (long)stat.st_nlink);
    mkdir("d", 0755);
    rename("a", "d/b");
    list(".");
    list("d");
    printf("rmdir of a full one: %s\n", rmdir("d") ? strerror(errno) : "done");
    printf("unlink: %d\n", unlink("d/b"));
    printf("rmdir: %d\n", rmdir("d"));
    file = fopen("a", "r");
    printf("open of what is gone: %s\n", file ? "done" : strerror(errno));

    file = tmpfile();
    if (file) {
        fputs("hello", file);
        rewind(file);
        printf("temporary: %c\n", fgetc(file));
    }
    return 0;
}
