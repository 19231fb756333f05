"""What is checked before a training on many nodes starts: `gensr doctor` and `launch/preflight`.

`hosts` reads the hostfile and reaches its hosts over ssh; `probe` looks at one node and `all_reduce` joins them all,
both started there as `python -m gensr_dist.doctor`; `checks` has `check_hosts`, which judges what came back.
"""
