"""The interview of ``scmm extract``: questions as plain data, answers kept as they come, one thin terminal in front.

``questions`` has the form of a question, ``world`` what the captures show, the ``*_part`` modules what is asked about
it, ``course`` which question is next, ``session`` the file that keeps the answers, ``terminal`` keys and screen.
"""
