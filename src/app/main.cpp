#include <fcntl.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "app/commands.h"
#include "app/guarded_reading.h"
#include "core/error.h"
#include "mpi/launch.h"
#include "store/results_layout.h"

namespace {

using mechsweep::kExitDone;

void set_up_logging(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("mechsweep");
  logger->set_pattern("mechsweep: %^%l%$: %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(logger);
}

/// `inspect --certify` and what belongs to it.
void declare_certificate(CLI::App& inspect, bool& certify,
                         mechsweep::CertifyCommandOptions& options) {
  CLI::Option* flag = inspect.add_flag(
      "--certify", certify,
      "load the model and check that it computes what it should; exit status 3 if it does not");
  const auto with_certify = [&](CLI::Option* option) { option->needs(flag); };
  with_certify(inspect.add_option("--reference", options.reference,
                                  "numbers of another program, by scripts/make_reference.py"));
  with_certify(inspect.add_option("--dtype", options.dtype, "float32 | bfloat16 | float16"));
  with_certify(inspect.add_option("--kernels", options.kernels, "native | onednn | aten"));
  with_certify(inspect.add_option("--executor", options.executor, "wavefront | naive"));
  with_certify(inspect.add_option("--threads", options.threads, "threads to use")
                   ->check(CLI::Range(1, 1024)));
  with_certify(inspect.add_flag("--json", options.json, "as JSON"));
}

/// Declares every subcommand; the chosen one's action ends up in `action`.
void declare_commands(CLI::App& app, std::function<int()>& action) {
  using namespace mechsweep;
  static RunOptions run;
  static ExportOptions exported;
  static SelftestOptions selftest;
  static std::string config, file, path, what;
  static bool json = false;
  static PlanOptions planned;
  static bool certify = false;
  static CertifyCommandOptions certified;

  CLI::App* plan = app.add_subcommand(
      "plan", "check a config and say what it would do: runs, units, work, memory, file, time");
  plan->add_option("CONFIG", planned.config, "the sweep's YAML file")->required();
  plan->add_option("--ranks", planned.ranks, "ranks to predict for")
      ->check(CLI::Range(1, 1'000'000));
  plan->add_flag("--calibrate", planned.calibrate,
                 "measure this machine's speed for a few seconds, to predict the time");
  plan->callback([&action] { action = [] { return plan_command(planned); }; });

  CLI::App* run_sub = app.add_subcommand(
      "run", "run a sweep (alone, under mpirun or srun); resumes FILE where it was left");
  run_sub->add_option("CONFIG", run.config, "the sweep's YAML file")->required();
  run_sub->add_option("--out", run.out, "the results file (.h5); wins over output.file");
  run_sub->add_option("--part", run.part,
                      "I/N: only the units of part I of N, for job arrays; merge joins the files");
  run_sub
      ->add_option("--end-by", run.end_by,
                   "seconds since 1970 at which the job ends: no unit is started that would not "
                   "end before (under Slurm by itself)")
      ->check(CLI::PositiveNumber);
  run_sub->add_flag("--allow-mixed", run.allow_mixed,
                    "resume on, or use, machines of several kinds, whose last bits may differ");
  run_sub->add_flag("--retry-quarantined", run.retry_quarantined,
                    "try units again that were quarantined after crashing three times");
  run_sub->callback([&action] { action = [] { return run_command(run); }; });

  CLI::App* reduce = app.add_subcommand(
      "reduce", "statistics of a results file into STEM.summary.h5, .csv and .json");
  reduce->add_option("FILE", file, "a results file")->required();
  reduce->callback([&action] { action = [] { return reduce_command(file); }; });

  CLI::App* export_sub =
      app.add_subcommand("export", "tidy CSV on stdout, one row per number; also of a summary");
  export_sub->add_option("FILE", exported.file, "a results or summary file")->required();
  export_sub->add_option("--run", exported.run, "only this run (EXPERIMENT/MODEL/PROMPTS)");
  export_sub->callback([&action] { action = [] { return export_command(exported); }; });

  CLI::App* status = app.add_subcommand(
      "status", "units done, left and failed; safe while a run is writing the file");
  status->add_option("FILE", file, "a results or summary file")->required();
  status->add_flag("--json", json, "as JSON");
  status->callback([&action] { action = [] { return status_command(file, json); }; });

  CLI::App* verify =
      app.add_subcommand("verify", "check every checksum, name what is damaged, print the digest");
  verify->add_option("FILE", file, "a results or summary file")->required();
  static bool restore = false;
  verify->add_flag("--restore", restore,
                   "first write damaged metadata back from STEM.meta, or make STEM.meta anew");
  verify->callback([&action] { action = [] { return verify_command(file, restore); }; });

  static MergeOptions merged;
  CLI::App* merge = app.add_subcommand(
      "merge", "join results of one sweep that ran as several files; alone: put OUT's log into it");
  merge->add_option("OUT", merged.out, "the results file to make or to add to")->required();
  merge->add_option("IN", merged.inputs, "results files of the same sweep, which are only read");
  merge->add_flag("--allow-mixed", merged.allow_mixed,
                  "join files of machines of several kinds, whose last bits may differ");
  merge->callback([&action] { action = [] { return merge_command(merged); }; });

  CLI::App* inspect = app.add_subcommand(
      "inspect", "describe a model folder, a GGUF file, a prompt file or a results file");
  inspect->add_option("PATH", path, "what to describe")->required();
  declare_certificate(*inspect, certify, certified);
  inspect->callback([&action] {
    certified.path = path;
    action = [] { return certify ? certify_command(certified) : inspect_command(path); };
  });

  CLI::App* prompts = app.add_subcommand(
      "prompts", "print a config's prompt sets in the prompt-file format; runs nothing");
  prompts->add_option("CONFIG", config, "the sweep's YAML file")->required();
  prompts->callback([&action] { action = [] { return prompts_command(config); }; });

  CLI::App* grid = app.add_subcommand(
      "grid", "expand `grid:` of a config into one config each, and a list of them");
  grid->add_option("CONFIG", config, "a YAML file with `grid:`")->required();
  static std::string grid_folder;
  grid->add_option("--out", grid_folder, "folder for the configs and all_configs.list")->required();
  grid->callback([&action] { action = [] { return grid_command(config, grid_folder); }; });

  CLI::App* list = app.add_subcommand(
      "list", "what there is: architectures, prompts, experiments, statistics or sites");
  list->add_option("WHAT", what, "architectures | prompts | experiments | statistics | sites")
      ->required();
  list->callback([&action] { action = [] { return list_command(what); }; });

  CLI::App* self = app.add_subcommand(
      "selftest", "is this machine fit, and are results independent of batch and threads here?");
  self->add_option("--device", selftest.device, "cpu")->capture_default_str();
  self->add_option("--kernels", selftest.kernels, "native | onednn | aten")->capture_default_str();
  self->add_option("--dtype", selftest.dtype, "float32 | bfloat16 | float16")
      ->capture_default_str();
  self->add_option("--threads", selftest.threads, "threads to try")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  static std::string io_folder;
  self->add_option("--io", io_folder,
                   "instead: is this folder fit for results of all ranks? (under mpirun or srun)");
  self->callback([&action] {
    action = [] {
      return io_folder.empty() ? selftest_command(selftest) : selftest_io_command(io_folder);
    };
  });
}

/// A file that is opened next must not become standard error: log lines would land in it.
void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor)
    if (::fcntl(descriptor, F_GETFD) == -1 && ::open("/dev/null", O_RDWR) != descriptor)
      std::_Exit(mechsweep::exit_status(mechsweep::ErrorKind::resource));
}

/// What the disk behind standard output did not take must not look like success.
int with_output_written(int status) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
  mechsweep::fail(mechsweep::ErrorKind::resource,
                  "standard output cannot be written; is the disk full?");
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  // A write beyond a limit on the size of files then fails with an error, like one on a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app(
      "mechsweep: causal sweeps over transformer language models.\n"
      "Exit status: 0 done, 1 some units failed, 2 usage or config, 3 bad or damaged input, 4 "
      "memory, "
      "disk, device\nor a held lock, 5 interrupted and resumable, 70 internal error.");
  app.set_version_flag("--version", std::string(mechsweep::software_version()));
  std::string level = "info";
  app.add_option("--log-level", level, "trace | debug | info | warn | error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.require_subcommand(1);
  std::function<int()> action;
  declare_commands(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // help or version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    return mechsweep::report(mechsweep::Error(
        mechsweep::ErrorKind::usage, fmt::format("{}; see mechsweep --help", error.what())));
  }
  set_up_logging(level);
  try {
    // Of ranks that work together the first one reads before the others do.
    const bool together =
        app.got_subcommand("run") || app.got_subcommand("reduce") || app.got_subcommand("selftest");
    const mechsweep::GuardedReading guarded(
        !together ||
        mechsweep::rank_by_environment([](const char* name) { return std::getenv(name); }) == 0);
    return with_output_written(action());
  } catch (const std::exception& error) {
    return mechsweep::report(error);
  }
}
