/* libnvidia-ml.so.1 for tests: a card of which every process that can be seen holds as much as it has in memory, and
 * GPU-empty, which shows no process. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  unsigned int pid;
  unsigned long long used;
  unsigned int gpu_instance, compute_instance;
} process;

enum { DONE = 0, TOO_SMALL = 7 };

int nvmlInitWithFlags(unsigned int flags) { return DONE; }

const char *nvmlErrorString(int code) { return "as the stand-in says"; }

int nvmlDeviceGetHandleByUUID(const char *uuid, void **card) {
  *card = (void *)(strcmp(uuid, "GPU-empty") ? "full" : "");
  return DONE;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned int *count, process *found) {
  unsigned int room = *count;
  DIR *all = opendir("/proc");
  if (!found) {
    *count = 1000;
    closedir(all);
    return TOO_SMALL;
  }
  *count = 0;
  if (!*(char *)card) room = 0;
  for (struct dirent *entry; (entry = readdir(all)) && *count < room;) {
    char path[300];
    unsigned long long pages = 0;
    unsigned int pid = atoi(entry->d_name);
    snprintf(path, sizeof path, "/proc/%s/statm", entry->d_name);
    FILE *sizes = pid ? fopen(path, "r") : NULL;
    if (sizes && fscanf(sizes, "%*u %llu", &pages) == 1) found[(*count)++] = (process){pid, pages * 4096, 0, 0};
    if (sizes) fclose(sizes);
  }
  closedir(all);
  return DONE;
}
