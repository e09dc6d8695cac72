#pragma once

namespace shoal {

// The program `shoal`: parses the command line, runs a subcommand, and returns its exit code. The
// last line on stderr says why it is not 0.
int run_cli(int argc, char** argv);

}  // namespace shoal
