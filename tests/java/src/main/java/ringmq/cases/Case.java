// One check of what a user of the stock client sees.
package ringmq.cases;

interface Case {
    /** Name used on the command line and in the report. */
    String name();

    /** Returns one line of detail; throws when what a user sees differs from the reference. */
    String run(Bed bed) throws Exception;

    /** True for cases whose figures mean little while others run. */
    default boolean alone() {
        return false;
    }

    /** Upper bound of the whole case in seconds. */
    default int limitSeconds() {
        return 90;
    }
}
