// What a CPU driver executes that costs cycles besides instructions: a plugin for QEMU's TCG.
//
// It counts, in the kernel's half of the addresses and for each path that the guest marks: instructions (K), entries (E,
// from EL0 to EL0), the longest entry, and the instructions that synchronise: ISB, DSB and DMB by kind, MSR, MRS, TLBI,
// DC and IC by kind, exclusives. TLBI are counted besides over everything that ever runs, the boot driver included.
//
// A guest marks by hints that are otherwise no-operations (Arm ARM C6.2, HINT: unallocated are NOP):
//
//   HINT #0x60         a path begins          HINT #0x61   it ends, and the next one has the next number
//   HINT #0x62 + n     path 256 + n begins    HINT #0x7f   it ends, and may begin again (n below 29)
//
// total-only=1 counts instead all instructions that are executed, by all cores, in the kernel's half of the addresses
// (K) and elsewhere (user), and physical pages from which instructions of the kernel's half were translated (code pages).
// Of these QEMU protects each, and for that it looks at the TLBs of all cores.
//
// Output, to the file named by out=: lines `PATH COUNT NAME`; PATH is a number from 0, or `all`. `K`, `E` and `longest`
// are names; the others are instructions. tlbi-only=1 counts nothing but TLBI: the guest runs at nearly full speed.
//
// QEMU's header isn't shipped by all distributions: what is used of version 4 of its interface is declared here.

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
typedef void (*translate_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*exit_callback)(qemu_plugin_id_t, void *);
typedef void (*execute_callback)(unsigned int, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translate_callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execute_callback, int flags, void *);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, execute_callback, int flags, void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;

enum { NAMED = 256, PATHS = NAMED + 32, KINDS = 256, CORES = 1024, OUTSIDE = PATHS };

// Kinds 0 to 2 are no instructions.
enum { K, E, LONGEST, PLAIN, FIRST_KIND };

static const char *names[KINDS] = {"K", "E", "longest", NULL};
static unsigned kinds = FIRST_KIND;
static bool broadcast[KINDS], is_tlbi[KINDS];
static uint64_t counts[PATHS + 1][KINDS], everywhere[KINDS];
static unsigned path = OUTSIDE, next_path;
static const char *out = "events.out";
static bool tlbi_only, total_only;

// In which half, by core: each counts its own.
static struct { uint64_t user, kernel; } totals[CORES];

// Pages by their address on the host.
enum { PAGES = 1 << 16 };
static uintptr_t pages[PAGES];
static unsigned page_count;
static char pages_taken;

struct core {
    bool has_left;    // it has gone to EL0 once
    bool in_kernel;
    uint64_t entry;   // instructions of this entry so far
    unsigned path;    // where it began
};
static struct core cores[CORES];

static unsigned kind(const char *name) {
    for (unsigned k = 0; k < kinds; k++)
        if (names[k] && !strcmp(names[k], name)) return k;
    if (kinds == KINDS) return PLAIN;
    names[kinds] = strdup(name);
    return kinds++;
}

static const char *const domains[16] = {
    "#0", "OSHLD", "OSHST", "OSH", "#4", "NSHLD", "NSHST", "NSH", "#8", "ISHLD", "ISHST", "ISH", "#12", "LD", "ST", "SY"};

// Arm ARM C5.5: op1 0 is EL1's, 4 EL2's, 6 EL3's; CRm tells whether other cores take part.
static unsigned tlbi(uint32_t op) {
    unsigned op1 = op >> 16 & 7, crm = op >> 8 & 15, op2 = op >> 5 & 7, crn = op >> 12 & 15;
    static const char *const el1[8] = {"VMALLE1", "VAE1", "ASIDE1", "VAAE1", "#4", "VALE1", "#6", "VAALE1"};
    bool inner = crm == 3 || crm == 2 || crm == 0, outer = crm == 1 || crm == 5;
    if (crm == 4) outer = op2 == 0 || op2 == 3 || op2 == 4 || op2 == 7;
    const char *range = crm == 2 || crm == 5 || crm == 6 ? "R" : "";
    char name[64];
    if (op1 == 0)
        snprintf(name, sizeof name, "TLBI %s%s%s%s", range, el1[op2], inner ? "IS" : outer ? "OS" : "", crn == 9 ? "NXS" : "");
    else
        snprintf(name, sizeof name, "TLBI op1=%u CRm=%u op2=%u%s", op1, crm, op2, inner || outer ? " broadcast" : "");
    unsigned k = kind(name);
    is_tlbi[k] = true;
    broadcast[k] = inner || outer;
    return k;
}

static unsigned cache(uint32_t op) {
    static const struct { uint32_t op; const char *name; } known[] = {
        {0xd5087500, "IC IALLU"}, {0xd5087100, "IC IALLUIS"}, {0xd50b7520, "IC IVAU"}, {0xd50b7420, "DC ZVA"},
        {0xd50b7a20, "DC CVAC"}, {0xd50b7b20, "DC CVAU"}, {0xd50b7e20, "DC CIVAC"}, {0xd5087620, "DC IVAC"},
    };
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if ((op & ~31u) == known[at].op) return kind(known[at].name);
    return kind("DC, IC or AT");
}

static unsigned classify(uint32_t op) {
    char name[32];
    if ((op & 0xfffff0ff) == 0xd50330df) return kind("ISB");
    if ((op & 0xfffff0ff) == 0xd503309f || (op & 0xfffff0ff) == 0xd50330bf) {
        snprintf(name, sizeof name, "%s %s", op & 32 ? "DMB" : "DSB", domains[op >> 8 & 15]);
        return kind(name);
    }
    if ((op & 0xfff80000) == 0xd5080000) {
        unsigned crn = op >> 12 & 15;
        if (crn == 8 || crn == 9) return tlbi(op);
        if (crn == 7) return cache(op);
    }
    if ((op & 0xfff00000) == 0xd5100000 || (op & 0xfff8f01f) == 0xd500401f) return kind("MSR");
    if ((op & 0xfff00000) == 0xd5300000) return kind("MRS");
    if (op == 0xd69f03e0) return kind("ERET");
    if ((op & 0x3f000000) == 0x08000000) return kind("exclusive or ordered");
    if ((op & 0x3f200c00) == 0x38200000) return kind("atomic");
    return PLAIN;
}

// What a callback is told: the kind in bits 7:0, and what it is besides.
enum { KERNEL = 1 << 8, BEGINS = 1 << 9, ENDS = 1 << 10, SLEEPS = 1 << 11, LEAVES = 1 << 12, STOPS = 1 << 13 };
enum { NUMBER = 16 };  // and above: the path that begins

static void finish(struct core *core) {
    if (!core->in_kernel) return;
    core->in_kernel = false;
    counts[core->path][E]++;
    if (core->entry > counts[core->path][LONGEST]) counts[core->path][LONGEST] = core->entry;
}

static void executed(unsigned int number, void *told) {
    uintptr_t what = (uintptr_t)told;
    struct core *core = &cores[number % CORES];
    unsigned which = what & 255;
    if (is_tlbi[which]) __atomic_fetch_add(&everywhere[which], 1, __ATOMIC_RELAXED);
    if (tlbi_only) return;
    if (what & KERNEL) {
        if (core->has_left) {
            if (!core->in_kernel) {
                core->in_kernel = true;
                core->entry = 0;
                core->path = path;
            }
            core->entry++;
            counts[path][K]++;
            if (which != PLAIN) counts[path][which]++;
        }
        // A core that sleeps isn't kept from anything: what wakes it begins anew.
        if (what & SLEEPS) finish(core);
        if (what & LEAVES) {
            finish(core);
            core->has_left = true;
        }
    } else if (core->has_left) {
        finish(core);
        if (what & BEGINS && next_path < NAMED) path = next_path;
        if (what >> NUMBER) path = what >> NUMBER;
        if (what & STOPS) path = OUTSIDE;
        if (what & ENDS) {
            path = OUTSIDE;
            next_path++;
        }
    }
}

static void page_translated(uintptr_t page) {
    while (__atomic_test_and_set(&pages_taken, __ATOMIC_ACQUIRE)) {}
    size_t at = page * 0x9e3779b97f4a7c15u >> 48;
    while (pages[at] && pages[at] != page) at = (at + 1) % PAGES;
    if (!pages[at] && page_count < PAGES / 2) {
        pages[at] = page;
        page_count++;
    }
    __atomic_clear(&pages_taken, __ATOMIC_RELEASE);
}

static void block_executed(unsigned int number, void *told) {
    uintptr_t what = (uintptr_t)told;
    if (what & 1)
        totals[number % CORES].kernel += what >> 1;
    else
        totals[number % CORES].user += what >> 1;
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    uintptr_t instructions = qemu_plugin_tb_n_insns(block);
    struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(block, 0);
    uintptr_t is_kernel = qemu_plugin_insn_vaddr(first) >> 63;
    if (is_kernel) page_translated((uintptr_t)qemu_plugin_insn_haddr(first) >> 12);
    qemu_plugin_register_vcpu_tb_exec_cb(block, block_executed, 0, (void *)(instructions << 1 | is_kernel));
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    size_t instructions = qemu_plugin_tb_n_insns(block);
    for (size_t at = 0; at < instructions; at++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, at);
        uint32_t op = 0;
        qemu_plugin_insn_data(instruction, &op, sizeof op);
        uintptr_t what = classify(op);
        if (tlbi_only && !is_tlbi[what]) continue;
        if (qemu_plugin_insn_vaddr(instruction) >> 63) what |= KERNEL;
        if (op == 0xd5032c1f) what |= BEGINS;
        if (op == 0xd5032c3f) what |= ENDS;
        uint32_t hint = (op & 0xfffff01f) == 0xd503201f ? op >> 5 & 0x7f : 0;
        if (hint >= 0x62 && hint < 0x7f) what |= (uintptr_t)(NAMED + hint - 0x62) << NUMBER;
        if (hint == 0x7f) what |= STOPS;
        if (op == 0xd503207f) what |= SLEEPS;
        if (op == 0xd69f03e0) what |= LEAVES;
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, 0, (void *)what);
    }
}

static void finished(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    FILE *file = fopen(out, "w");
    if (!file) return;
    for (unsigned p = 0; p < PATHS; p++)
        for (unsigned k = 0; k < kinds; k++)
            if (counts[p][k] && names[k]) fprintf(file, "%u %" PRIu64 " %s\n", p, counts[p][k], names[k]);
    uint64_t broadcasts = 0, all = 0;
    for (unsigned k = FIRST_KIND; k < kinds; k++) {
        if (!is_tlbi[k]) continue;
        fprintf(file, "all %" PRIu64 " %s\n", everywhere[k], names[k]);
        all += everywhere[k];
        if (broadcast[k]) broadcasts += everywhere[k];
    }
    uint64_t user = 0, kernel = 0;
    for (unsigned core = 0; core < CORES; core++) {
        user += totals[core].user;
        kernel += totals[core].kernel;
    }
    if (total_only)
        fprintf(file, "all %" PRIu64 " user\nall %" PRIu64 " K\nall %u code pages\n", user, kernel, page_count);
    fprintf(file, "all %" PRIu64 " TLBI\nall %" PRIu64 " broadcast TLBI\n", all, broadcasts);
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const qemu_info_t *info, int arguments, char **argument) {
    (void)info;
    for (int at = 0; at < arguments; at++) {
        if (!strncmp(argument[at], "out=", 4)) out = strdup(argument[at] + 4);
        if (!strcmp(argument[at], "tlbi-only=1")) tlbi_only = true;
        if (!strcmp(argument[at], "total-only=1")) total_only = true;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, total_only ? block_translated : translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
