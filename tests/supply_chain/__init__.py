"""What we are made of: `python -m tests.supply_chain locks|licences|sbom|vulnerabilities`.

===================  ==================================================================
``locks``            requirements/*.txt read, and held against what was asked for
``licences``         under which each package is given, and which we take
``sbom``             all that production installs, as CycloneDX
``vulnerabilities``  what is known against it, asked at osv.dev
===================  ==================================================================
"""
