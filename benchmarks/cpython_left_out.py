"""Which files of CPython's suite ``cpython_suite.py --all`` leaves out, and why.

And which tests have another outcome with the hooks in, as they should.
"""

from __future__ import annotations

LEFT_OUT = {
    "test__xxsubinterpreters": "waits for ever now and then, as it is (3.11)",
    "test_asdl_parser": "needs CPython's source tree",
    "test_bigaddrspace": "needs more memory than machines have",
    "test_bigmem": "the same",
    "test_c_globals": "needs CPython's source tree",
    "test_check_c_globals": "the same",
    "test_clinic": "the same",
    "test_concurrent_futures": "many minutes of waiting for processes",
    "test_cppext": "builds a C++ extension, which is about headers",
    "test_cext": "builds a C extension, which is about headers",
    "test_crashers": "skips itself",
    "test_distutils": "builds, and looks at the build's own folders",
    "test_embed": "starts other programs than Python",
    "test_ensurepip": "about the wheel of pip",
    "test_freeze": "builds CPython",
    "test_gdb": "about gdb",
    "test_idle": "needs a screen",
    "test_interpreters": "waits for ever now and then, as it is (3.11)",
    "test_launcher": "Windows",
    "test_multiprocessing_fork": "many minutes of waiting for processes",
    "test_multiprocessing_forkserver": "the same",
    "test_multiprocessing_spawn": "the same",
    "test_nntplib": "needs the network",
    "test_peg_generator": "compiles for many minutes",
    "test_regrtest": "about this very test runner",
    "test_smtpnet": "needs the network",
    "test_socket": "needs the network",
    "test_ssl": "needs the network",
    "test_tix": "needs a screen",
    "test_tk": "needs a screen",
    "test_tkinter": "needs a screen",
    "test_tools": "needs CPython's source tree",
    "test_ttk": "needs a screen",
    "test_ttk_guionly": "needs a screen",
    "test_turtle": "needs a screen",
    "test_urllib2net": "needs the network",
    "test_urllibnet": "needs the network",
    "test_venv": "makes environments with pip, for minutes",
    "test_xmlrpc_net": "needs the network",
    "test_zipfile64": "writes gigabytes",
}

_FRAMES = "a debugger or tracer sees the frames of import hooks that are written in Python"
WITH_A_REASON = {
    "test.test_bdb.StateTestCase.test_skip": _FRAMES,
    "test.test_trace.TestCoverage.test_coverage_ignore": _FRAMES,
    "test.test_subprocess.POSIXProcessTestCase.test_pass_fds_redirected": (
        "who uses a bubble has a lease on it, which is an open file"
    ),
}
