"""Triton kernels over paged KV, one file each with its launcher; installed as `residentkv.kernels`.

Importing this package loads nothing; importing one of its modules loads torch and triton (`pip install
residentkv[triton]`). Every launcher checks shapes, strides, dtypes, devices and alignment, raises ContractError with
the
numbers, launches on the current stream and does not wait. Contents of index tensors live on the device and are not
looked at: what must hold of them is documented as a requirement.

One block of keys (or values) is always passed in the logical order `[block_size, num_kv_heads, head_dim]`. NHD
storage is
that; HND storage is passed as `blocks.transpose(1, 2)`, so a kernel knows strides and no layout names.
"""
