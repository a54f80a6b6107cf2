/* What a GPU gives to the code that Triton compiled, for x86-64: lanes, barriers, shuffles, shared memory, checked
 * global memory, matrix units. `compiled_on_cpu.py` renames each LLVM intrinsic and PTX instruction of a kernel to a
 * function of this file, "." and ":" to "_". So this file is the list of what is covered, and what is missing is named.
 *
 * Such a function finds its operands in `in` (one Slot each, in the order they are written) and leaves its result in
 * `out`. Every lane is a fiber: it runs until it waits for others, and then the next lane goes on. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef union {
    uint8_t u8[64]; uint16_t u16[32]; uint32_t u32[16]; int32_t i32[16]; uint64_t u64[8]; int64_t i64[8];
    float f32[16]; double f64[8]; char *p[8];
} __attribute__((aligned(64))) Slot;

#define UNUSED __attribute__((unused))
#define GPU(name) void name(UNUSED Slot *out, UNUSED const Slot *in)
#define IGNORED(name) GPU(name) {}

/* --- lanes and barriers ------------------------------------------------------------------------------------------ */

enum { MAX_LANES = 1024, STACK_BYTES = 1 << 18, SHARED_BYTES = 1 << 18 };

typedef struct { int members, arrived, generation; } Barrier;

char global_smem[SHARED_BYTES] __attribute__((aligned(128)));

static int lanes, warp_size, lane, finished, progress;
static int program[3], grid[3];
static void *scheduler_stack, *lane_stack[MAX_LANES];
static char done[MAX_LANES], *stack_memory;
static Barrier block, warps[MAX_LANES / 32];
static Slot exchanged[MAX_LANES][4];
static void (*kernel)(void *);
static void *kernel_arguments;

char failure[512];

/* Save the callee-saved registers and the stack pointer, go on with another stack. */
void switch_stack(void **save, void *load);
__asm__(".globl switch_stack\n"
        "switch_stack:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, (%rdi)\n  mov %rsi, %rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n");

static void yield_lane(void) {
    int self = lane;
    switch_stack(&lane_stack[self], scheduler_stack);
}

/* Ends the launch: its lanes are abandoned where they stand. */
#define FAIL(...) do { snprintf(failure, sizeof failure, __VA_ARGS__); for (;;) yield_lane(); } while (0)

static void release_if_complete(Barrier *b) {
    if (b->members && b->arrived == b->members) { b->arrived = 0; b->generation++; progress++; }
}

static void wait_at(Barrier *b) {
    int generation = b->generation;
    b->arrived++;
    release_if_complete(b);
    while (b->generation == generation) yield_lane();
}

static void wait_for_warp(void) { wait_at(&warps[lane / warp_size]); }

static void run_lane(void) {
    kernel(kernel_arguments);
    done[lane] = 1; finished++; progress++;
    block.members--; release_if_complete(&block);
    Barrier *warp = &warps[lane / warp_size];
    warp->members--; release_if_complete(warp);
    for (;;) yield_lane();
}

static void start_lane(int i) {
    void **top = (void **)(stack_memory + (size_t)(i + 1) * STACK_BYTES) - 2;
    top[0] = (void *)run_lane;  /* where switch_stack returns to; the stack is then 8 off 16, as after a call */
    lane_stack[i] = top - 6;    /* six registers, whatever they hold */
    done[i] = 0;
}

static void run_program(void) {
    finished = 0;
    block = (Barrier){lanes, 0, 0};
    for (int w = 0; w < lanes / warp_size; w++) warps[w] = (Barrier){warp_size, 0, 0};
    memset(global_smem, 0xff, sizeof global_smem);  /* NaN, so that what was never written shows */
    for (int i = 0; i < lanes; i++) start_lane(i);
    while (finished < lanes && !failure[0]) {
        int before = progress;
        for (lane = 0; lane < lanes && !failure[0]; lane++)
            if (!done[lane]) switch_stack(&scheduler_stack, lane_stack[lane]);
        if (progress == before && !failure[0])
            snprintf(failure, sizeof failure, "its lanes wait for each other: a barrier or shuffle in a branch");
    }
}

/* --- global memory, checked -------------------------------------------------------------------------------------- */

enum { SECTOR_BYTES = 32 };

/* Storage of a tensor, bytes requested of it so far (read, written), and a byte for each of its sectors: 1 read, 2 written. */
typedef struct { uint64_t begin, end, requested[2]; uint8_t *sectors; } Storage;

static Storage *storages;
static int num_storages;

/* Ends the launch unless the bytes lie within one tensor's storage, aligned. Counts them. */
void check_access(const char *address, int64_t bytes, int64_t alignment, int64_t is_store) {
    uint64_t begin = (uint64_t)address;
    const char *what = is_store ? "store" : "load";
    int i = 0;
    while (i < num_storages && !(storages[i].begin <= begin && begin + bytes <= storages[i].end)) i++;
    if (i == num_storages)
        FAIL("%s of %d bytes outside of every tensor, at %p, program (%d, %d, %d), thread %d", what, (int)bytes,
             (void *)address, program[0], program[1], program[2], lane);
    if (begin % alignment)
        FAIL("misaligned %s of %d bytes at %p, program (%d, %d, %d), thread %d", what, (int)bytes, (void *)address,
             program[0], program[1], program[2], lane);
    storages[i].requested[is_store] += bytes;
    uint64_t first = storages[i].begin / SECTOR_BYTES;
    storages[i].sectors[begin / SECTOR_BYTES - first] |= 1 << is_store;
    storages[i].sectors[(begin + bytes - 1) / SECTOR_BYTES - first] |= 1 << is_store;
}

void load_global(char *out, const char *address, int64_t bytes, int64_t predicate) {
    if (!predicate) return;
    check_access(address, bytes, bytes, 0);
    memcpy(out, address, bytes);
}

void store_global(const char *values, char *address, int64_t bytes, int64_t predicate) {
    if (!predicate) return;
    check_access(address, bytes, bytes, 1);
    memcpy(address, values, bytes);
}

static void check_shared(const char *address, int64_t bytes) {
    if (address < global_smem || address + bytes > global_smem + SHARED_BYTES || (uint64_t)address % bytes)
        FAIL("shared memory misaligned or left at byte %ld", (long)(address - global_smem));
}

void load_shared(char *out, const char *address, int64_t bytes, int64_t predicate) {
    if (!predicate) return;
    check_shared(address, bytes);
    memcpy(out, address, bytes);
}

void store_shared(const char *values, char *address, int64_t bytes, int64_t predicate) {
    if (!predicate) return;
    check_shared(address, bytes);
    memcpy(address, values, bytes);
}

/* cp.async, done at once: the first `available` bytes are copied, the rest are zeros. */
void copy_to_shared(char *shared, const char *address, int64_t bytes, int64_t available, int64_t predicate) {
    char buffer[16] = {0};
    load_global(buffer, address, available, predicate && available > 0);
    store_shared(buffer, shared, bytes, predicate);
}

/* Run every program of the grid, one after the other. `failure` says what went wrong, if anything. */
void run(void (*entry)(void *), void *arguments, const int *grid_, int lanes_, int warp_size_, Storage *storages_,
        int num_storages_) {
    kernel = entry; kernel_arguments = arguments; lanes = lanes_; warp_size = warp_size_;
    storages = storages_; num_storages = num_storages_;
    memcpy(grid, grid_, sizeof grid);
    failure[0] = 0;
    if (!stack_memory)
        stack_memory = mmap(0, (size_t)MAX_LANES * STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (program[2] = 0; program[2] < grid[2]; program[2]++)
        for (program[1] = 0; program[1] < grid[1]; program[1]++)
            for (program[0] = 0; program[0] < grid[0]; program[0]++) {
                run_program();
                if (failure[0]) return;
            }
}

/* --- numbers ----------------------------------------------------------------------------------------------------- */

static float float_of(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static float half_to_float(uint16_t bits) { _Float16 x; memcpy(&x, &bits, 2); return x; }
static float bfloat16_to_float(uint16_t bits) { return float_of((uint32_t)bits << 16); }
static float tf32_to_float(uint32_t bits) { return float_of(bits & 0xffffe000u); }

static uint16_t bfloat16_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (u + 0x7fff + ((u >> 16) & 1)) >> 16;
}

/* What LLVM calls for fptrunc to bfloat; the result is in the low half of the first vector register. */
float __truncsfbf2(float x) { return float_of(bfloat16_of(x)); }
float __truncdfbf2(double x) { return __truncsfbf2((float)x); }

typedef enum { F32, F16, BF16, TF32 } Kind;

static float element(const Slot *s, Kind kind, int i) {
    switch (kind) {
        case F16: return half_to_float(s->u16[i]);
        case BF16: return bfloat16_to_float(s->u16[i]);
        case TF32: return tf32_to_float(s->u32[i]);
        default: return s->f32[i];
    }
}

/* Give up to four Slots to the others of the warp; call `taken` when they have been read. */
static void give(int count, const Slot *slots) {
    memcpy(exchanged[lane], slots, count * sizeof(Slot));
    wait_for_warp();
}

static void taken(void) { wait_for_warp(); }

static uint32_t from_lane(uint32_t value, int other) {
    Slot s = {.u32 = {value}};
    give(1, &s);
    uint32_t result = exchanged[lane / warp_size * warp_size + other][0].u32[0];
    taken();
    return result;
}

/* --- NVIDIA ------------------------------------------------------------------------------------------------------ */

GPU(llvm_nvvm_read_ptx_sreg_tid_x) { out->i32[0] = lane; }
GPU(llvm_nvvm_read_ptx_sreg_ctaid_x) { out->i32[0] = program[0]; }
GPU(llvm_nvvm_read_ptx_sreg_ctaid_y) { out->i32[0] = program[1]; }
GPU(llvm_nvvm_read_ptx_sreg_ctaid_z) { out->i32[0] = program[2]; }
GPU(llvm_nvvm_read_ptx_sreg_nctaid_x) { out->i32[0] = grid[0]; }
GPU(llvm_nvvm_read_ptx_sreg_nctaid_y) { out->i32[0] = grid[1]; }
GPU(llvm_nvvm_read_ptx_sreg_nctaid_z) { out->i32[0] = grid[2]; }
GPU(llvm_nvvm_barrier_cta_sync_aligned_all) { wait_at(&block); }
GPU(llvm_nvvm_bar_warp_sync) { wait_for_warp(); }
GPU(llvm_nvvm_shfl_sync_bfly_i32) { out->u32[0] = from_lane(in[1].u32[0], lane % 32 ^ in[2].u32[0]); }
GPU(llvm_nvvm_shfl_sync_idx_i32) { out->u32[0] = from_lane(in[1].u32[0], in[2].u32[0] % 32); }
GPU(llvm_nvvm_shfl_sync_up_i32) {
    int distance = in[2].i32[0], self = lane % 32;
    out->u32[0] = from_lane(in[1].u32[0], self < distance ? self : self - distance);
}
IGNORED(llvm_nvvm_cp_async_commit_group)
IGNORED(llvm_nvvm_cp_async_wait_group)
IGNORED(llvm_nvvm_cp_async_wait_all)

GPU(__nvvm_reflect) { out->i32[0] = 0; }
GPU(llvm_nvvm_mulhi_ui) { out->u32[0] = (uint64_t)in[0].u32[0] * in[1].u32[0] >> 32; }
/* Four bytes of eight: a selector's lower three bits say which, its upper bit that its sign is meant. */
static uint32_t permuted_bytes(const Slot *in) {
    uint64_t bytes = (uint64_t)in[1].u32[0] << 32 | in[0].u32[0];
    uint32_t result = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t selector = in[2].u32[0] >> 4 * i, byte = bytes >> 8 * (selector & 7) & 0xff;
        if (selector & 8) byte = byte & 0x80 ? 0xff : 0;
        result |= byte << 8 * i;
    }
    return result;
}
GPU(llvm_nvvm_prmt) { out->u32[0] = permuted_bytes(in); }
GPU(prmt_b32) { out->u32[0] = permuted_bytes(in); }
/* A function of one float, with and without flush of denormals to zero, which is not imitated. */
#define UNARY(name, suffix, value) \
    GPU(name##suffix) { float x = in[0].f32[0]; out->f32[0] = value; } \
    GPU(name##_ftz##suffix) { float x = in[0].f32[0]; out->f32[0] = value; }

UNARY(llvm_nvvm_ex2_approx, _f, exp2f(x)) UNARY(llvm_nvvm_ex2_approx, _f32, exp2f(x)) UNARY(ex2_approx, _f32, exp2f(x))
UNARY(llvm_nvvm_lg2_approx, _f, log2f(x)) UNARY(lg2_approx, _f32, log2f(x))
UNARY(llvm_nvvm_sin_approx, _f, sinf(x)) UNARY(sin_approx, _f32, sinf(x))
UNARY(llvm_nvvm_cos_approx, _f, cosf(x)) UNARY(cos_approx, _f32, cosf(x))
UNARY(llvm_nvvm_rcp_approx, _f, 1 / x) UNARY(rcp_approx, _f32, 1 / x) UNARY(llvm_nvvm_rcp_rn, _f, 1 / x)
UNARY(llvm_nvvm_rsqrt_approx, _f, 1 / sqrtf(x)) UNARY(rsqrt_approx, _f32, 1 / sqrtf(x))
UNARY(llvm_nvvm_sqrt_approx, _f, sqrtf(x)) UNARY(sqrt_approx, _f32, sqrtf(x)) UNARY(llvm_nvvm_sqrt_rn, _f, sqrtf(x))
UNARY(llvm_nvvm_floor, _f, floorf(x)) UNARY(llvm_nvvm_ceil, _f, ceilf(x))
GPU(llvm_nvvm_fma_rn_f) { out->f32[0] = fmaf(in[0].f32[0], in[1].f32[0], in[2].f32[0]); }
GPU(llvm_nvvm_fma_rn_ftz_f) { out->f32[0] = fmaf(in[0].f32[0], in[1].f32[0], in[2].f32[0]); }

GPU(llvm_nvvm_div_full) { out->f32[0] = in[0].f32[0] / in[1].f32[0]; }
GPU(llvm_nvvm_div_full_ftz) { out->f32[0] = in[0].f32[0] / in[1].f32[0]; }
GPU(div_full_f32) { out->f32[0] = in[0].f32[0] / in[1].f32[0]; }
GPU(div_rn_f32) { out->f32[0] = in[0].f32[0] / in[1].f32[0]; }
GPU(tanh_approx_f32) { out->f32[0] = tanhf(in[0].f32[0]); }
GPU(cvt_rn_bf16_f32) { out->u16[0] = bfloat16_of(in[0].f32[0]); }
GPU(cvt_rn_bf16x2_f32) { out->u16[0] = bfloat16_of(in[1].f32[0]); out->u16[1] = bfloat16_of(in[0].f32[0]); }
GPU(cvt_rna_tf32_f32) { out->u32[0] = (in[0].u32[0] + 0x1000) & 0xffffe000u; }

/* Lane l of a warp gives the address of row l % 8 of matrix l / 8, and gets two neighbours of each 8x8 matrix. */
static void load_matrices(Slot *out, const Slot *in, int count, int transposed) {
    give(1, in);
    const Slot (*warp)[4] = (const Slot (*)[4])exchanged[lane / 32 * 32];
    int row = lane % 32 / 4, column = 2 * (lane % 4);
    for (int m = 0; m < count; m++)
        for (int i = 0; i < 2; i++) {
            int r = transposed ? column + i : row, c = transposed ? row : column + i;
            load_shared((char *)&out->u16[2 * m + i], warp[8 * m + r][0].p[0] + 2 * c, 2, 1);
        }
    taken();
}

GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x1_b16_p3) { load_matrices(out, in, 1, 0); }
GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x2_b16_p3) { load_matrices(out, in, 2, 0); }
GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x4_b16_p3) { load_matrices(out, in, 4, 0); }
GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x1_trans_b16_p3) { load_matrices(out, in, 1, 1); }
GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x2_trans_b16_p3) { load_matrices(out, in, 2, 1); }
GPU(llvm_nvvm_ldmatrix_sync_aligned_m8n8_x4_trans_b16_p3) { load_matrices(out, in, 4, 1); }

/* mma.sync m16n8kK, operands A (4 registers), B (2), C (4). With g = lane / 4 and t = lane % 4, a register holds one
 * 32-bit element or two 16-bit ones: A rows g and g + 8, columns t (or 2t, 2t + 1), the upper half of K in the last two. */
static void multiply_m16n8(Slot *out, const Slot *in, Kind kind) {
    int packed = kind == TF32 ? 1 : 2, half_k = 4 * packed;
    Slot given[2];
    for (int r = 0; r < 4; r++) given[0].u32[r] = in[r].u32[0];
    for (int r = 0; r < 2; r++) given[1].u32[r] = in[4 + r].u32[0];
    give(2, given);
    Slot (*warp)[4] = &exchanged[lane / 32 * 32];
    for (int v = 0; v < 4; v++) {
        int row = lane % 32 / 4 + 8 * (v / 2), column = 2 * (lane % 4) + v % 2;
        float sum = in[6 + v].f32[0];
        for (int k = 0; k < 2 * half_k; k++) {
            int t = k % half_k / packed, upper = k / half_k, i = k % packed;
            sum += element(&warp[4 * (row % 8) + t][0], kind, packed * (row / 8 + 2 * upper) + i) *
                   element(&warp[4 * column + t][1], kind, packed * upper + i);
        }
        out->f32[v] = sum;
    }
    taken();
}

GPU(mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32) { multiply_m16n8(out, in, F16); }
GPU(mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32) { multiply_m16n8(out, in, BF16); }
GPU(mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32) { multiply_m16n8(out, in, TF32); }

/* --- AMD --------------------------------------------------------------------------------------------------------- */

GPU(llvm_amdgcn_workitem_id_x) { out->i32[0] = lane; }
GPU(llvm_amdgcn_workgroup_id_x) { out->i32[0] = program[0]; }
GPU(llvm_amdgcn_workgroup_id_y) { out->i32[0] = program[1]; }
GPU(llvm_amdgcn_workgroup_id_z) { out->i32[0] = program[2]; }
GPU(llvm_amdgcn_implicitarg_ptr) { out->p[0] = (char *)grid; }
GPU(llvm_amdgcn_s_barrier) { wait_at(&block); }
GPU(llvm_amdgcn_wave_barrier) { wait_for_warp(); }
IGNORED(llvm_amdgcn_s_waitcnt)
IGNORED(llvm_amdgcn_s_setprio)
IGNORED(llvm_amdgcn_sched_barrier)
IGNORED(llvm_amdgcn_sched_group_barrier)
IGNORED(llvm_amdgcn_iglp_opt)

/* Bytes 0 to 3 of the second number, 4 to 7 of the first; 8 to 11 the sign of its bytes 1, 3 and of the first's; zeros;
   ones. */
GPU(llvm_amdgcn_perm) {
    uint64_t bytes = (uint64_t)in[0].u32[0] << 32 | in[1].u32[0];
    uint32_t selector = in[2].u32[0], result = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t s = selector >> 8 * i & 0xff, byte;
        if (s < 8) byte = bytes >> 8 * s & 0xff;
        else if (s < 12) byte = bytes >> (16 * (s - 8) + 15) & 1 ? 0xff : 0;
        else byte = s == 12 ? 0 : 0xff;
        result |= byte << 8 * i;
    }
    out->u32[0] = result;
}
GPU(llvm_amdgcn_rcp_f32) { out->f32[0] = 1 / in[0].f32[0]; }
GPU(llvm_amdgcn_rsq_f32) { out->f32[0] = 1 / sqrtf(in[0].f32[0]); }
GPU(llvm_amdgcn_sqrt_f32) { out->f32[0] = sqrtf(in[0].f32[0]); }
GPU(llvm_amdgcn_exp2_f32) { out->f32[0] = exp2f(in[0].f32[0]); }
GPU(llvm_amdgcn_log_f32) { out->f32[0] = log2f(in[0].f32[0]); }
GPU(llvm_amdgcn_fract_f32) { out->f32[0] = in[0].f32[0] - floorf(in[0].f32[0]); }
GPU(llvm_amdgcn_sin_f32) { out->f32[0] = sinf(6.283185307179586f * in[0].f32[0]); }
GPU(llvm_amdgcn_cos_f32) { out->f32[0] = cosf(6.283185307179586f * in[0].f32[0]); }
GPU(llvm_amdgcn_fmed3_f32) { out->f32[0] = fmaxf(fminf(in[0].f32[0], in[1].f32[0]),
                                                 fminf(fmaxf(in[0].f32[0], in[1].f32[0]), in[2].f32[0])); }

GPU(llvm_amdgcn_readfirstlane_i32) { out->u32[0] = from_lane(in[0].u32[0], 0); }
GPU(llvm_amdgcn_readfirstlane_f32) { out->u32[0] = from_lane(in[0].u32[0], 0); }
GPU(llvm_amdgcn_readlane_i32) { out->u32[0] = from_lane(in[0].u32[0], in[1].u32[0] % 64); }
GPU(llvm_amdgcn_readlane_f32) { out->u32[0] = from_lane(in[0].u32[0], in[1].u32[0] % 64); }
GPU(llvm_amdgcn_ds_bpermute) { out->u32[0] = from_lane(in[1].u32[0], in[0].u32[0] / 4 % 64); }

GPU(llvm_amdgcn_ds_swizzle) {
    int pattern = in[1].i32[0], self = lane % 64, other;
    if (pattern & 0x8000) other = (self & ~3) | (pattern >> 2 * (self & 3) & 3);
    else other = (self & 32) | (((self & 31 & pattern) | (pattern >> 5 & 31)) ^ (pattern >> 10 & 31));
    out->u32[0] = from_lane(in[0].u32[0], other);
}

/* Operands: what stays where nothing comes, value, control, masks of rows and banks, zero where nothing comes. */
GPU(llvm_amdgcn_update_dpp_i32) {
    int control = in[2].i32[0], self = lane % 64, row = self & ~15, i = self & 15, n = control & 15, other = -1;
    if (control < 0x100) other = (self & ~3) | (control >> 2 * (self & 3) & 3);            /* quad_perm */
    else if (0x101 <= control && control <= 0x10f) other = i + n < 16 ? self + n : -1;      /* row_shl */
    else if (0x111 <= control && control <= 0x11f) other = i >= n ? self - n : -1;          /* row_shr */
    else if (0x121 <= control && control <= 0x12f) other = row + ((i - n) & 15);            /* row_ror */
    else if (control == 0x140) other = row + 15 - i;                                        /* row_mirror */
    else if (control == 0x141) other = (self & ~7) + 7 - (self & 7);                        /* row_half_mirror */
    else if (control == 0x142) other = row ? row - 1 : -1;                                  /* row_bcast:15 */
    else if (control == 0x143) other = self >= 32 ? 31 : -1;                                /* row_bcast:31 */
    else if (0x150 <= control && control <= 0x15f) other = row + n;                         /* row_newbcast */
    else FAIL("DPP control 0x%x is not covered", control);
    uint32_t value = from_lane(in[1].u32[0], other < 0 ? self : other);
    int enabled = (in[3].i32[0] >> self / 16 & 1) && (in[4].i32[0] >> (self / 4 & 3) & 1);
    out->u32[0] = enabled && other >= 0 ? value : enabled && in[5].u8[0] ? 0 : in[0].u32[0];
}

GPU(llvm_amdgcn_update_dpp_f32) { llvm_amdgcn_update_dpp_i32(out, in); }

/* A buffer resource: loads beyond `bytes` give zero, stores there are dropped; that is how masked lanes are written. */
typedef struct { char *base; uint64_t bytes; } Buffer;

GPU(llvm_amdgcn_make_buffer_rsrc_p8_p1) {
    static Buffer buffers[256];
    static int count;
    for (int i = 0; i < count; i++)
        if (buffers[i].base == in[0].p[0] && buffers[i].bytes == in[2].u64[0]) { out->p[0] = (char *)&buffers[i]; return; }
    count %= 256;
    buffers[count] = (Buffer){in[0].p[0], in[2].u64[0]};
    out->p[0] = (char *)&buffers[count++];
}

static void load_buffer(Slot *out, const Slot *in, int bytes) {
    const Buffer *buffer = (const Buffer *)in[0].p[0];
    uint64_t offset = (uint64_t)in[1].u32[0] + in[2].u32[0];
    memset(out, 0, bytes);
    if (offset + bytes > buffer->bytes) return;
    check_access(buffer->base + offset, bytes, bytes < 4 ? bytes : 4, 0);
    memcpy(out, buffer->base + offset, bytes);
}

static void store_buffer(const Slot *in, int bytes) {
    const Buffer *buffer = (const Buffer *)in[1].p[0];
    uint64_t offset = (uint64_t)in[2].u32[0] + in[3].u32[0];
    if (offset + bytes > buffer->bytes) return;
    check_access(buffer->base + offset, bytes, bytes < 4 ? bytes : 4, 1);
    memcpy(buffer->base + offset, in, bytes);
}

#define BUFFER(type, bytes) \
    GPU(llvm_amdgcn_raw_ptr_buffer_load_##type) { load_buffer(out, in, bytes); } \
    GPU(llvm_amdgcn_raw_ptr_buffer_store_##type) { store_buffer(in, bytes); }

BUFFER(i8, 1) BUFFER(i16, 2) BUFFER(f16, 2) BUFFER(bf16, 2) BUFFER(i32, 4) BUFFER(f32, 4)
BUFFER(v2i16, 4) BUFFER(v2f16, 4) BUFFER(v2bf16, 4) BUFFER(v4i16, 8) BUFFER(v4f16, 8) BUFFER(v4bf16, 8)
BUFFER(v2i32, 8) BUFFER(v2f32, 8) BUFFER(v4i32, 16) BUFFER(v4f32, 16)

/* MFMA of M x M x K, operands A, B (some elements of one row or column each), C. Groups of M lanes hold the parts of K;
 * C comes in blocks of four rows, dealt to the groups in turn. */
static void multiply_mfma(Slot *out, const Slot *in, int m, Kind kind, int elements) {
    give(2, in);
    Slot (*wave)[4] = &exchanged[lane / 64 * 64];
    int groups = 64 / m, column = lane % m, group = lane % 64 / m;
    for (int v = 0; v < m * m / 64; v++) {
        int row = 4 * groups * (v / 4) + 4 * group + v % 4;
        float sum = in[2].f32[v];
        for (int g = 0; g < groups; g++)
            for (int i = 0; i < elements; i++)
                sum += element(&wave[g * m + row][0], kind, i) * element(&wave[g * m + column][1], kind, i);
        out->f32[v] = sum;
    }
    taken();
}

#define MFMA(shape, m, kind, elements) \
    GPU(llvm_amdgcn_mfma_f32_##shape) { multiply_mfma(out, in, m, kind, elements); }

MFMA(32x32x2f32, 32, F32, 1) MFMA(16x16x4f32, 16, F32, 1)
MFMA(32x32x4_xf32, 32, TF32, 2) MFMA(16x16x8_xf32, 16, TF32, 2)
MFMA(32x32x8f16, 32, F16, 4) MFMA(16x16x16f16, 16, F16, 4)
MFMA(32x32x8bf16_1k, 32, BF16, 4) MFMA(16x16x16bf16_1k, 16, BF16, 4)
