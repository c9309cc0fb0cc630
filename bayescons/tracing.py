"""What is read of programs and functions while JAX traces them: the only module that touches
internals of JAX and NumPyro.
"""

from __future__ import annotations
