// Holds one core in the middle of what it does: a plugin for QEMU's TCG, with a thread for each core.
//
// core=N is held when it has executed after=B blocks of code at addresses below=A, until there is a file until=PATH. To the others it is a core
// that is on and does nothing. They mustn't do meanwhile what QEMU stops all cores for.
//
// QEMU's header isn't shipped by all distributions: what is used of version 4 of its interface is declared here.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef struct qemu_info_t qemu_info_t;
typedef void (*translate_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*execute_callback)(unsigned int, void *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execute_callback, int flags, void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;

static unsigned held;
static uint64_t after, executed;  // by the held core alone
static uint64_t below = UINT64_MAX;
static const char *until;

static void block_executed(unsigned core, void *data) {
    (void)data;
    if (core != held || ++executed != after) return;
    while (access(until, F_OK)) usleep(10000);
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    if (qemu_plugin_tb_vaddr(block) >= below) return;
    qemu_plugin_register_vcpu_tb_exec_cb(block, block_executed, 0, NULL);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int arguments, char **argument) {
    (void)info;
    for (int at = 0; at < arguments; at++) {
        if (!strncmp(argument[at], "core=", 5)) held = strtoul(argument[at] + 5, NULL, 10);
        if (!strncmp(argument[at], "after=", 6)) after = strtoull(argument[at] + 6, NULL, 10);
        if (!strncmp(argument[at], "below=", 6)) below = strtoull(argument[at] + 6, NULL, 0);
        if (!strncmp(argument[at], "until=", 6)) until = strdup(argument[at] + 6);
    }
    if (!after || !until) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    return 0;
}
