"""The enumerations and messages of the public interface, under the module names that programs import.

Made from the .proto files beside by `make proto`; only these are written by hand.
"""
