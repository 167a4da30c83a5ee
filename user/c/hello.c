/* Prints its arguments and what the C library knows of its surroundings. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        printf("argument %d is %s\n", i, argv[i]);
    printf("home is %s, pages have %ld bytes\n", getenv("HOME"), sysconf(_SC_PAGESIZE));
    printf("a terminal: %s\n", isatty(1) ? "yes" : "no");
    printf("%.3f %e %s\n", 3.14159265, 1e100, "text");
    return argc;
}
