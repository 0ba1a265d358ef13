"""`python -m aigc_course` is `aigc-course`."""

from aigc_course.cli import main

main()
