#include "train/run/signals.h"

#include <unistd.h>

#include <csignal>
#include <initializer_list>
#include <string_view>

namespace shoal {
namespace {

constexpr int kStoppedCode = 75;

volatile std::sig_atomic_t received = 0;

void remember(int number) {
  if (received != 0 && number != SIGHUP && received != SIGHUP) _exit(128 + number);
  if (received == 0 || received == SIGHUP) received = number;
}

void end_at_once(int) {
  constexpr std::string_view kWhy =
      "\nshoal: stopped on request before the run began; nothing was changed\n";
  (void)!::write(STDERR_FILENO, kWhy.data(), kWhy.size());
  _exit(kStoppedCode);
}

void install(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a save in progress goes on
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) {
    struct sigaction now {};
    const bool ignored = ::sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
    if (number == SIGHUP && ignored) continue;
    ::sigaction(number, &action, nullptr);
  }
}

}  // namespace

void end_at_once_on_signals() { install(end_at_once); }
void watch_signals() { install(remember); }

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

int signal_received() { return received; }

}  // namespace shoal
