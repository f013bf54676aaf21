// Runs the program's commands one after the other, each in a forked child: the whole of
// src/app/main.cpp from its first line, without the time that starting the program takes. Reads one
// JSON object a line, {"arguments": [...], "out": PATH, "err": PATH, "patience_s": N}, and answers
// each with a line: the exit status, -SIGNAL when it died of one, or "hang".

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "core/json.h"

int mechsweep_main(int argc, char** argv);  // main() of src/app/main.cpp, renamed when compiled

namespace {

using mechsweep::Json;

void send_to(const std::string& path, int descriptor) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || ::dup2(file, descriptor) < 0) ::_exit(125);
  ::close(file);
}

[[noreturn]] void run_command(const Json& request) {
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  send_to(request.at("out"), STDOUT_FILENO);
  send_to(request.at("err"), STDERR_FILENO);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::vector<std::string> arguments = request.at("arguments");
  arguments.insert(arguments.begin(), "mechsweep");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int status = mechsweep_main(static_cast<int>(arguments.size()), argv.data());
  std::fflush(nullptr);
  ::_exit(status);  // the libraries' own farewell takes longer than most commands
}

std::string outcome_of(const Json& request) {
  const pid_t child = ::fork();
  if (child == 0) run_command(request);
  const auto handle = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  pollfd waiting{handle, POLLIN, 0};
  const bool ended = ::poll(&waiting, 1, request.at("patience_s").get<int>() * 1000) > 0;
  if (!ended) ::kill(child, SIGKILL);
  ::close(handle);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!ended) return "hang";
  return std::to_string(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::printf("%s\n", outcome_of(Json::parse(line)).c_str());
    std::fflush(stdout);
  }
  return 0;
}
