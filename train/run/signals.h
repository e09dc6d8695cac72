#pragma once

namespace shoal {

// Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP (a closed terminal; unless it is ignored, as under nohup) ask
// a run to stop.
//
// Before it has begun there is nothing to save: the process ends at once, with the code of a
// stopped run, whatever it is doing.
void end_at_once_on_signals();
// From now on the first one sets a flag, which every loop that may take a second reads; the next
// one ends the process at once with 128 + its number. SIGHUP comes in company (from the terminal
// and the shell, or beside a SIGTERM), so it neither is that next one nor makes one of the other.
void watch_signals();
int signal_received();  // its number, or 0
inline bool stop_requested() { return signal_received() != 0; }
// A closed pipe behind stderr must not end a run: its messages are lost, and that is all.
void ignore_broken_pipes();

}  // namespace shoal
