"""System tests: the real programs in network namespaces of their own.

    python3 Tests/System BRAID [NAME...] [--list] [--keep] [--share=FOLDER]

BRAID is the program under test; NAMEs choose tests by a part of their name. Several that are given one empty FOLDER
share the tests. Everything (namespaces, links,
processes) lives inside a process, mount and network namespace that the kernel takes down when this ends,
however it ends. Needs root, or user namespaces.
"""
import runner
from world import World, prepare_machine

runner.main("system", __doc__, lambda program: lambda test: World(program), prepare_machine)
