"""Fused operations of the model. Each has a folder: `reference.py` is its equation in plain torch, `triton_path.py` the
GPU kernels, `torch_path.py` (where one pays) the fused form for CPUs, `op.py` the function to call. Dropout is in
`model/`, for on GPUs torch's own is fused.

What the kernels of the soft filter are up against. A group has M query rows (candidates x heads), N history rows, width
D and elements of b bytes. Forward must read queries and history and write the pooled rows: (2M + N) D b bytes, for
4MND operations. At M = N = 20, D = 768 in bf16 that is 92 KB and 1.2 Mflop: 13 flop a byte, where an H200 (4.8 TB/s,
0.8 Pflop/s in bf16) could do 165. So bytes decide, even after rows are padded to the 16 that a matrix unit wants, and
the kernel's job is to touch each byte once and to have enough loads in flight. Backward moves (3M + 2N) D b bytes
(queries, history and the pooled rows' gradient in, two gradients out) for 10MND operations.

One program owns a group (or a tile of its query rows): every row of the history is wanted by all M rows and by nobody
else, so it is read once and meets all of them on chip, and the sum over M in the history's gradient stays inside the
program, in a fixed order: no atomics, the same bits each time. Groups are many (128 and more), so programs are too.

Norm and gate do a handful of operations an element. They move 2 D b bytes a row forward and 3 backward (norm), 3 and 5
(gate).
"""
