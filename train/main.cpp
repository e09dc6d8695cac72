#include "train/cli/cli.h"

int main(int argc, char** argv) { return shoal::run_cli(argc, argv); }
